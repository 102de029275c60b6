//! Energy sensors: RAPL counters, an INA3221 on three rails, and a graphics card's own counter.
//!
//! Layout as in the kernel's Documentation/power/powercap and Documentation/hwmon/ina3221, and as a Jetson Orin Nano
//! names its rails. In both the first contains the others. The card's is as the kernel's `xe` driver shows it
//! (Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon).

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::tree::{fixed, link, Attr, Fault, Gauge};

/// When a sensor shows something new.
struct Refresh {
    every: u64,
    next: u64,
}

impl Refresh {
    fn new(every: Duration) -> Refresh {
        Refresh { every: every.as_nanos() as u64, next: 0 }
    }

    fn due(&mut self, at: u64) -> bool {
        if at < self.next {
            return false;
        }
        self.next = (at / self.every + 1) * self.every;
        true
    }
}

/// Shares of idle and active power that a part sees.
type Part = (&'static str, f64, f64);

const ZONES: [Part; 3] = [("package-0", 1.0, 1.0), ("core", 0.35, 0.85), ("uncore", 0.15, 0.05)];

pub struct Rapl {
    range: f64,
    start: f64,
    refresh: Refresh,
    counters: Vec<Gauge>,
}

impl Rapl {
    pub fn create(root: &Path, wrap_j: f64, start_j: f64, every: Duration) -> io::Result<Rapl> {
        const TYPE: &str = "devices/virtual/powercap/intel-rapl";
        let range = (wrap_j * 1e6).round();
        fixed(&root.join(TYPE), &[("enabled", "1")])?;
        link(root, "class/powercap/intel-rapl", TYPE)?;
        let mut counters = Vec::new();
        for (n, (name, _, _)) in ZONES.iter().enumerate() {
            let (zone, path) = match n {
                0 => ("intel-rapl:0".to_owned(), format!("{TYPE}/intel-rapl:0")),
                _ => (format!("intel-rapl:0:{}", n - 1), format!("{TYPE}/intel-rapl:0/intel-rapl:0:{}", n - 1)),
            };
            let dir = root.join(&path);
            fixed(&dir, &[("name", name), ("enabled", "1"), ("max_energy_range_uj", &format!("{range}"))])?;
            if n == 0 {
                fixed(
                    &dir,
                    &[
                        ("constraint_0_name", "long_term"),
                        ("constraint_0_power_limit_uw", "15000000"),
                        ("constraint_0_time_window_us", "27983872"),
                    ],
                )?;
            }
            link(root, &format!("class/powercap/{zone}"), &path)?;
            counters.push(Gauge::create(&dir, "energy_uj", true)?);
        }
        Ok(Rapl { range, start: start_j * 1e6, refresh: Refresh::new(every), counters })
    }

    /// Joules since the start.
    pub fn update(&mut self, at: u64, idle: f64, active: f64, fault: Option<Fault>) -> io::Result<()> {
        if !self.refresh.due(at) {
            return Ok(());
        }
        for (counter, (_, i, a)) in self.counters.iter_mut().zip(ZONES) {
            let value = (self.start + (idle * i + active * a) * 1e6) % self.range;
            counter.show(value as u64, fault)?;
        }
        Ok(())
    }
}

const RAILS: [Part; 3] = [("VDD_IN", 1.0, 1.0), ("VDD_CPU_GPU_CV", 0.2, 0.8), ("VDD_SOC", 0.3, 0.1)];
/// Milliohms of the shunts; one step of the converter is 40 microvolts across one, and 8 mV on the bus.
const SHUNT: f64 = 5.0;

pub struct Ina {
    refresh: Refresh,
    volts: Vec<Gauge>,
    amps: Vec<Gauge>,
    /// When it last showed something, and the joules then.
    last: Option<(u64, f64, f64)>,
}

impl Ina {
    pub fn create(root: &Path, every: Duration) -> io::Result<Ina> {
        const CHIP: &str = "devices/platform/bus@0/c240000.i2c/i2c-1/1-0040";
        let hwmon = format!("{CHIP}/hwmon/hwmon1");
        let dir = root.join(&hwmon);
        fixed(&dir, &[("name", "ina3221"), ("update_interval", &every.as_millis().to_string())])?;
        link(root, "class/hwmon/hwmon1", &hwmon)?;
        link(root, "bus/i2c/drivers/ina3221/1-0040", CHIP)?;
        let (mut volts, mut amps) = (Vec::new(), Vec::new());
        for (n, (label, _, _)) in RAILS.iter().enumerate() {
            let n = n + 1;
            let (l, e, s) = (format!("in{n}_label"), format!("in{n}_enable"), format!("shunt{n}_resistor"));
            fixed(&dir, &[(&l, label), (&e, "1"), (&s, &format!("{}", SHUNT * 1000.0))])?;
            volts.push(Gauge::create(&dir, &format!("in{n}_input"), false)?);
            amps.push(Gauge::create(&dir, &format!("curr{n}_input"), false)?);
        }
        // The chip's sum of shunts, which is no rail.
        fixed(&dir, &[("in7_label", "sum of shunt voltages"), ("curr4_label", "sum of shunt currents")])?;
        Attr::create(&dir, "in7_input", "0")?;
        Ok(Ina { refresh: Refresh::new(every), volts, amps, last: None })
    }

    /// Joules since the start. It shows the mean of the time since it last showed something, as the chip's averaging
    /// does.
    pub fn update(&mut self, at: u64, idle: f64, active: f64, fault: Option<Fault>) -> io::Result<()> {
        if !self.refresh.due(at) {
            return Ok(());
        }
        let before = self.last.replace((at, idle, active));
        let Some((then, idle_then, active_then)) = before else { return Ok(()) };
        let seconds = at.saturating_sub(then) as f64 / 1e9;
        if seconds <= 0.0 {
            return Ok(());
        }
        for (n, (_, i, a)) in RAILS.into_iter().enumerate() {
            let watts = ((idle - idle_then) * i + (active - active_then) * a) / seconds;
            // 5 V that sag a little under load.
            let millivolts = ((5000.0 - 4.0 * watts) / 8.0).round() * 8.0;
            let step = 40.0 / SHUNT;
            let milliamps = (watts / (millivolts / 1000.0) * 1000.0 / step).round() * step;
            self.volts[n].show(millivolts as u64, fault)?;
            self.amps[n].show(milliamps as u64, fault)?;
        }
        Ok(())
    }
}

pub struct Card {
    refresh: Refresh,
    counter: Gauge,
}

impl Card {
    pub fn create(root: &Path, every: Duration) -> io::Result<Card> {
        const CARD: &str = "devices/pci0000:00/0000:03:00.0";
        let hwmon = format!("{CARD}/hwmon/hwmon2");
        let dir = root.join(&hwmon);
        fixed(
            &dir,
            &[("name", "xe"), ("energy1_label", "card"), ("power1_label", "card"), ("power1_max", "150000000")],
        )?;
        link(root, "class/hwmon/hwmon2", &hwmon)?;
        Ok(Card { refresh: Refresh::new(every), counter: Gauge::create(&dir, "energy1_input", true)? })
    }

    /// Joules since the start.
    pub fn update(&mut self, at: u64, joules: f64, fault: Option<Fault>) -> io::Result<()> {
        if self.refresh.due(at) {
            self.counter.show((joules * 1e6) as u64, fault)?;
        }
        Ok(())
    }
}
