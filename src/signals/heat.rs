//! Thermal zones (`class/thermal`) and what frequency limits leave (`devices/system/cpu/cpufreq`).

use std::path::Path;

use super::files::{folders, number, text};

/// Below this no board works; -274000 is the kernel's word for "no value".
const COLDEST: i32 = -100_000;
/// Above this no board works. Drivers show such values for "none".
const HOTTEST: i32 = 200_000;

/// The hottest zone in degrees Celsius, and the degrees that are left to the nearest trip point.
///
/// Trip points are where the kernel slows the device down (passive), calls for help (hot) or switches it off
/// (critical). At an active one it starts a fan: that limits nothing. One at or below 0 is not in use.
pub(super) fn zones(sysfs: &Path) -> (Option<f32>, Option<f32>) {
    let (mut hottest, mut headroom) = (None::<i32>, None::<i32>);
    for zone in folders(&sysfs.join("class/thermal"), "thermal_zone") {
        if text(&zone, "mode").is_some_and(|m| m == "disabled") {
            continue;
        }
        let temp = number::<i32>(&zone, "temp").filter(|t| (COLDEST..=HOTTEST).contains(t));
        let Some(temp) = temp else { continue };
        hottest = hottest.max(Some(temp));
        for n in 0.. {
            let Some(kind) = text(&zone, &format!("trip_point_{n}_type")) else { break };
            if !matches!(kind.as_str(), "passive" | "hot" | "critical") {
                continue;
            }
            let trip = number::<i32>(&zone, &format!("trip_point_{n}_temp")).filter(|t| (1..=HOTTEST).contains(t));
            if let Some(left) = trip.map(|t| t - temp) {
                headroom = Some(headroom.map_or(left, |h| h.min(left)));
            }
        }
    }
    let degrees = |m: i32| m as f32 / 1000.0;
    (hottest.map(degrees), headroom.map(degrees))
}

/// What the frequency limits leave of the CPUs' full speed, from 0 to 1: the mean over the CPUs of each one's
/// `scaling_max_freq` (which thermal and power limits lower) over its `cpuinfo_max_freq`, weighted by the latter.
pub(super) fn cpu_speed(sysfs: &Path) -> Option<f32> {
    let (mut limit, mut full) = (0.0f64, 0.0f64);
    for policy in folders(&sysfs.join("devices/system/cpu/cpufreq"), "policy") {
        let cpus = text(&policy, "affected_cpus").map_or(1, |s| s.split_whitespace().count().max(1)) as f64;
        let max = number::<u64>(&policy, "cpuinfo_max_freq").filter(|f| *f > 0);
        let now = number::<u64>(&policy, "scaling_max_freq").filter(|f| *f > 0);
        if let (Some(max), Some(now)) = (max, now) {
            full += max as f64 * cpus;
            limit += now.min(max) as f64 * cpus;
        }
    }
    (full > 0.0).then(|| (limit / full) as f32)
}
