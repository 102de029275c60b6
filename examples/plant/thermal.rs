//! A thermal zone that warms, and frequency limits.

use std::io;
use std::path::Path;

use crate::tree::{fixed, link, Attr};

/// Degrees for each watt, in the end.
const RESISTANCE: f64 = 5.0;
/// Seconds in which it comes within 1/e of that.
const TIME: f64 = 20.0;

pub struct Thermal {
    ambient: f64,
    degrees: f64,
    next: u64,
    last: Option<(u64, f64)>,
    temp: Attr,
}

impl Thermal {
    pub fn create(root: &Path, ambient: f64) -> io::Result<Thermal> {
        let zone = |n: u32| format!("devices/virtual/thermal/thermal_zone{n}");
        let dir = root.join(zone(0));
        fixed(&dir, &[("type", "cpu-thermal"), ("mode", "enabled"), ("policy", "step_wise")])?;
        for (n, (kind, degrees)) in
            [("active", 50_000), ("passive", 85_000), ("hot", 95_000), ("critical", 105_000)].into_iter().enumerate()
        {
            let names = ["type", "temp", "hyst"].map(|what| format!("trip_point_{n}_{what}"));
            fixed(&dir, &[(&names[0], kind), (&names[1], &degrees.to_string()), (&names[2], "2000")])?;
        }
        link(root, "class/thermal/thermal_zone0", &zone(0))?;
        // A zone whose sensor is off, as many boards have one.
        fixed(&root.join(zone(1)), &[("type", "gpu-thermal"), ("mode", "disabled"), ("temp", "-274000")])?;
        link(root, "class/thermal/thermal_zone1", &zone(1))?;
        let temp = Attr::create(&dir, "temp", &format!("{:.0}", ambient * 1000.0))?;
        Ok(Thermal { ambient, degrees: ambient, next: 0, last: None, temp })
    }

    /// Sets the air's temperature.
    pub fn ambient(&mut self, degrees: f64) {
        self.ambient = degrees;
    }

    /// Joules that the device has used since the start.
    pub fn update(&mut self, at: u64, used: f64) -> io::Result<()> {
        if at < self.next {
            return Ok(());
        }
        self.next = at + 100_000_000;
        let (then, before) = self.last.replace((at, used)).unwrap_or((at, used));
        let seconds = at.saturating_sub(then) as f64 / 1e9;
        if seconds > 0.0 {
            let target = self.ambient + RESISTANCE * (used - before) / seconds;
            self.degrees += (target - self.degrees) * (1.0 - (-seconds / TIME).exp());
        }
        self.temp.set(&format!("{:.0}", self.degrees * 1000.0))
    }
}

/// Kilohertz.
const FASTEST: f64 = 2_400_000.0;

pub struct Cpufreq {
    limit: Attr,
}

impl Cpufreq {
    pub fn create(root: &Path) -> io::Result<Cpufreq> {
        const POLICY: &str = "devices/system/cpu/cpufreq/policy0";
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let list = (0..cores).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let dir = root.join(POLICY);
        let fastest = format!("{FASTEST}");
        fixed(
            &dir,
            &[
                ("affected_cpus", &list),
                ("related_cpus", &list),
                ("cpuinfo_min_freq", "600000"),
                ("cpuinfo_max_freq", &fastest),
                ("scaling_min_freq", "600000"),
                ("scaling_cur_freq", &fastest),
                ("scaling_governor", "schedutil"),
            ],
        )?;
        for n in 0..cores {
            link(root, &format!("devices/system/cpu/cpu{n}/cpufreq"), POLICY)?;
        }
        Ok(Cpufreq { limit: Attr::create(&dir, "scaling_max_freq", &fastest)? })
    }

    /// Limits it to this share of its full speed. The work does not get slower by it.
    pub fn limit(&mut self, share: f64) -> io::Result<()> {
        self.limit.set(&format!("{:.0}", FASTEST * share))
    }
}
