//! Batteries and chargers: `class/power_supply`.
//!
//! Not everything there supplies the device: a mouse's battery has the scope `Device` and says nothing of ours.
//! (Documentation/ABI/testing/sysfs-class-power.)

use std::path::Path;

use super::files::{folders, number, text};

/// What the power supplies say together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Supplies {
    /// The device runs from a battery.
    pub on_battery: bool,
    /// Charge of all batteries together, in percent.
    pub percent: Option<f32>,
}

/// One battery.
struct Battery {
    status: String,
    percent: Option<f32>,
    /// What it holds when full, in watt hours.
    size: Option<f64>,
}

/// Reads `class/power_supply`.
pub(super) fn read(sysfs: &Path) -> Supplies {
    let (mut batteries, mut chargers, mut online) = (Vec::new(), 0, false);
    for dir in folders(&sysfs.join("class/power_supply"), "") {
        if text(&dir, "scope").is_some_and(|s| s == "Device") {
            continue;
        }
        match text(&dir, "type").as_deref() {
            Some("Battery" | "UPS") if number::<u8>(&dir, "present") != Some(0) => batteries.push(battery(&dir)),
            // The kinds of USB supplies once had types of their own: USB_DCP, USB_PD, ...
            Some(kind) if matches!(kind, "Mains" | "Wireless" | "BrickID") || kind.starts_with("USB") => {
                // 2: online with a voltage that can be programmed.
                if let Some(state) = number::<u8>(&dir, "online") {
                    chargers += 1;
                    online |= state > 0;
                }
            }
            _ => {}
        }
    }
    let any = |status: &[&str]| batteries.iter().any(|b| status.contains(&b.status.as_str()));
    // Some drivers never say that they discharge. Then it is so where there is a charger, none is plugged in, and no
    // battery shows that power comes from elsewhere.
    let discharging =
        any(&["Discharging"]) || (chargers > 0 && any(&["Unknown", "Not charging", ""]) && !any(&["Charging", "Full"]));
    Supplies { on_battery: discharging && !online, percent: percent(&batteries) }
}

fn battery(dir: &Path) -> Battery {
    let positive = |name: &str| number::<i64>(dir, name).filter(|n| *n > 0).map(|n| n as f64 / 1e6);
    let energy = positive("energy_full").or_else(|| positive("energy_full_design"));
    let charge = positive("charge_full").or_else(|| positive("charge_full_design"));
    let volts = || positive("voltage_min_design").or_else(|| positive("voltage_now"));
    let size = energy.or_else(|| Some(charge? * volts()?));
    let share = |now: &str, full: Option<f64>| {
        // 0 is a level.
        let now = number::<i64>(dir, now).filter(|n| *n >= 0)? as f64 / 1e6;
        Some((now / full? * 100.0).min(100.0) as f32)
    };
    // The driver's own percentage knows where the battery gives out.
    let percent = number::<u8>(dir, "capacity")
        .filter(|c| *c <= 100)
        .map(f32::from)
        .or_else(|| share("energy_now", energy))
        .or_else(|| share("charge_now", charge));
    Battery { status: text(dir, "status").unwrap_or_default(), percent, size }
}

/// Weighted by what each holds; where one does not say, all count alike.
fn percent(batteries: &[Battery]) -> Option<f32> {
    let known: Vec<(f32, Option<f64>)> = batteries.iter().filter_map(|b| Some((b.percent?, b.size))).collect();
    let sized = known.iter().all(|(_, size)| size.is_some());
    let weight = |size: Option<f64>| if sized { size.unwrap_or(0.0) } else { 1.0 };
    let all: f64 = known.iter().map(|(_, size)| weight(*size)).sum();
    let level: f64 = known.iter().map(|(percent, size)| f64::from(*percent) * weight(*size)).sum();
    (all > 0.0).then(|| (level / all) as f32)
}
