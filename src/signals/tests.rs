//! Devices made of files, the odd ones among them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A device with these files. Folders end where the file's name begins.
struct Device(TempDir);

impl Device {
    fn new(files: &[(&str, &str)]) -> Device {
        let device = Device(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| device.set(path, text));
        device
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// Files of one power supply.
    fn supply(&self, name: &str, files: &[(&str, &str)]) {
        files.iter().for_each(|(file, text)| self.set(&format!("sys/class/power_supply/{name}/{file}"), text));
    }

    fn zone(&self, n: u32, files: &[(&str, &str)]) {
        files.iter().for_each(|(file, text)| self.set(&format!("sys/class/thermal/thermal_zone{n}/{file}"), text));
    }

    fn policy(&self, n: u32, files: &[(&str, &str)]) {
        let dir = format!("sys/devices/system/cpu/cpufreq/policy{n}");
        files.iter().for_each(|(file, text)| self.set(&format!("{dir}/{file}"), text));
    }

    fn read(&self) -> Signals {
        Reader::new(&self.0.path().join("sys"), &self.0.path().join("proc")).read()
    }

    /// Whether it runs on battery, and the level.
    fn battery(&self) -> (bool, Option<f32>) {
        let s = self.read();
        (s.on_battery, s.battery_percent)
    }
}

fn near(a: Option<f32>, b: f32) -> bool {
    a.is_some_and(|a| (a - b).abs() < 0.01)
}

#[test]
fn a_device_without_anything_has_no_signals() {
    assert_eq!(Device::new(&[]).read(), Signals::default());
    assert_eq!(Reader::new(Path::new("/nonexistent"), Path::new("/nonexistent")).read(), Signals::default());
}

#[test]
fn a_laptop_unplugged_and_plugged_in() {
    let d = Device::new(&[]);
    d.supply("BAT0", &[("type", "Battery"), ("status", "Discharging"), ("capacity", "42"), ("present", "1")]);
    d.supply("AC", &[("type", "Mains"), ("online", "0")]);
    assert_eq!(d.battery(), (true, Some(42.0)));
    d.supply("AC", &[("online", "1")]);
    assert_eq!(d.battery(), (false, Some(42.0)), "a weak charger may not keep up; it is still one");
    d.supply("BAT0", &[("status", "Charging")]);
    assert_eq!(d.battery(), (false, Some(42.0)));
}

#[test]
fn a_battery_without_any_charger_known_is_believed() {
    let d = Device::new(&[]);
    d.supply("battery", &[("type", "Battery"), ("status", "Discharging"), ("capacity", "7")]);
    assert_eq!(d.battery(), (true, Some(7.0)));
    for other in ["Charging", "Full", "Not charging", "Unknown", "", "gibberish"] {
        d.supply("battery", &[("status", other)]);
        assert_eq!(d.battery(), (false, Some(7.0)), "{other}");
    }
}

#[test]
fn a_status_that_says_nothing_is_decided_by_the_charger() {
    let d = Device::new(&[]);
    d.supply("BAT0", &[("type", "Battery"), ("status", "Unknown"), ("capacity", "50")]);
    d.supply("usb", &[("type", "USB_PD"), ("online", "0")]);
    assert!(d.battery().0);
    d.supply("BAT0", &[("status", "Not charging")]);
    assert!(d.battery().0);
    d.supply("usb", &[("online", "2")]);
    assert!(!d.battery().0);
    d.supply("usb", &[("online", "0")]);
    d.supply("BAT0", &[("status", "Full")]);
    assert!(!d.battery().0, "power comes from where no driver looks");
    d.supply("usb", &[("online", "yes")]);
    d.supply("BAT0", &[("status", "Unknown")]);
    assert!(!d.battery().0, "a charger that cannot be read is none");
}

#[test]
fn a_mouse_is_not_the_device() {
    let d = Device::new(&[]);
    let mouse = [("type", "Battery"), ("scope", "Device"), ("status", "Discharging"), ("capacity", "3")];
    d.supply("hidpp_battery_0", &mouse);
    assert_eq!(d.battery(), (false, None));
    d.supply("BAT0", &[("type", "Battery"), ("scope", "System"), ("status", "Full"), ("capacity", "100")]);
    assert_eq!(d.battery(), (false, Some(100.0)));
    // Nor does a charger for the mouse charge us.
    d.supply("BAT0", &[("status", "Discharging")]);
    d.supply("pad", &[("type", "Wireless"), ("scope", "Device"), ("online", "1")]);
    assert_eq!(d.battery(), (true, Some(100.0)));
}

#[test]
fn several_batteries_count_by_what_they_hold() {
    let d = Device::new(&[]);
    let one = [("type", "Battery"), ("status", "Discharging"), ("capacity", "100"), ("energy_full", "10000000")];
    let two = [("type", "Battery"), ("status", "Unknown"), ("capacity", "20"), ("energy_full", "30000000")];
    d.supply("BAT0", &one);
    d.supply("BAT1", &two);
    assert_eq!(d.battery(), (true, Some(40.0)));
    // In ampere hours: 3 Ah at 10 V are the same 30 Wh.
    d.supply("BAT1", &[("energy_full", "-1"), ("charge_full", "3000000"), ("voltage_min_design", "10000000")]);
    assert_eq!(d.battery(), (true, Some(40.0)));
    // One that does not say what it holds: all count alike.
    d.supply("BAT1", &[("charge_full", "?")]);
    assert_eq!(d.battery(), (true, Some(60.0)));
    // An empty bay.
    d.supply("BAT1", &[("present", "0")]);
    assert_eq!(d.battery(), (true, Some(100.0)));
}

#[test]
fn a_level_is_computed_where_the_driver_has_none() {
    let d = Device::new(&[]);
    d.supply("BAT0", &[("type", "Battery"), ("energy_full", "40000000"), ("energy_now", "10000000")]);
    assert_eq!(d.battery(), (false, Some(25.0)));
    d.supply("BAT0", &[("capacity", "255")]);
    assert_eq!(d.battery(), (false, Some(25.0)));
    d.supply("BAT0", &[("energy_now", "41000000")]);
    assert_eq!(d.battery(), (false, Some(100.0)));
    d.supply("BAT0", &[("energy_now", "0")]);
    assert_eq!(d.battery(), (false, Some(0.0)));
    d.supply("BAT0", &[("energy_now", "-5"), ("charge_full", "2000000"), ("charge_now", "1000000")]);
    assert_eq!(d.battery(), (false, Some(50.0)));
}

#[test]
fn heat_is_that_of_the_hottest_zone_and_headroom_that_of_the_nearest_trip_point() {
    let d = Device::new(&[]);
    let trips = [
        ("trip_point_0_type", "active"),
        ("trip_point_0_temp", "50000"),
        ("trip_point_1_type", "passive"),
        ("trip_point_1_temp", "95000"),
        ("trip_point_2_type", "critical"),
        ("trip_point_2_temp", "105000"),
    ];
    d.zone(0, &trips);
    d.zone(0, &[("temp", "70500"), ("mode", "enabled"), ("type", "cpu-thermal")]);
    d.zone(1, &[("temp", "45000"), ("trip_point_0_type", "hot"), ("trip_point_0_temp", "60000")]);
    let s = d.read();
    assert!(near(s.temperature, 70.5) && near(s.thermal_headroom, 15.0), "{s:?}");
    d.zone(0, &[("temp", "97250")]);
    let s = d.read();
    assert!(near(s.temperature, 97.25) && near(s.thermal_headroom, -2.25), "{s:?}");
}

#[test]
fn zones_that_say_nothing_are_left_out() {
    let d = Device::new(&[]);
    d.zone(0, &[("temp", "-274000"), ("trip_point_0_type", "critical"), ("trip_point_0_temp", "105000")]);
    d.zone(1, &[("temp", "90000"), ("mode", "disabled")]);
    d.zone(2, &[("temp", "Invalid argument")]);
    d.zone(3, &[("temp", "2147483647")]);
    d.zone(4, &[("type", "acpitz")]);
    let s = d.read();
    assert_eq!((s.temperature, s.thermal_headroom), (None, None));
    // Frost is a temperature; a trip point at 0, far away or of garbage is none.
    let unused = [
        ("trip_point_0_type", "critical"),
        ("trip_point_0_temp", "0"),
        ("trip_point_1_type", "hot"),
        ("trip_point_1_temp", "-274000"),
        ("trip_point_2_type", "passive"),
        ("trip_point_2_temp", "2147483647"),
        ("trip_point_3_type", "passive"),
    ];
    d.zone(5, &unused);
    d.zone(5, &[("temp", "-12000")]);
    let s = d.read();
    assert!(near(s.temperature, -12.0) && s.thermal_headroom.is_none(), "{s:?}");
    // What is no zone is not read as one.
    d.set("sys/class/thermal/cooling_device0/temp", "99000");
    assert!(near(d.read().temperature, -12.0));
}

#[test]
fn frequency_limits_count_by_the_speed_they_limit() {
    let d = Device::new(&[]);
    let policy = |n, cpus, max, now| {
        d.policy(n, &[("affected_cpus", cpus), ("cpuinfo_max_freq", max), ("scaling_max_freq", now)]);
    };
    policy(0, "0 1 2 3", "1000000", "1000000");
    assert!(near(d.read().cpu_speed, 1.0));
    // Two big cores of 2 GHz each, at half: 4 + 2 of 4 + 4.
    policy(4, "4 5", "2000000", "1000000");
    assert!(near(d.read().cpu_speed, 0.75));
    // Faster than full is a boost, not more than all.
    policy(4, "4 5", "2000000", "2500000");
    assert!(near(d.read().cpu_speed, 1.0));
    // Every core of a cluster is off, or the driver fails.
    policy(4, "", "<unknown>", "0");
    assert!(near(d.read().cpu_speed, 1.0));
    policy(0, "0", "0", "1000000");
    assert_eq!(d.read().cpu_speed, None);
}

#[test]
fn pressure_is_the_share_of_the_last_ten_seconds() {
    let d = Device::new(&[
        (
            "proc/pressure/cpu",
            "some avg10=12.50 avg60=3.00 avg300=1.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
        ),
        (
            "proc/pressure/memory",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0",
        ),
    ]);
    let s = d.read();
    assert_eq!((s.cpu_pressure, s.memory_pressure), (Some(12.5), Some(0.0)));
    for bad in ["", "some avg10=NaN", "some avg10=101", "some avg10=-1", "full avg10=3.00", "some avg60=3.00"] {
        d.set("proc/pressure/cpu", bad);
        assert_eq!(d.read().cpu_pressure, None, "{bad}");
    }
    fs::write(d.0.path().join("proc/pressure/memory"), [0xff, 0xfe]).unwrap();
    assert_eq!(d.read().memory_pressure, None);
}

#[test]
fn this_machine_can_be_read() {
    let s = Reader::new(Path::new("/sys"), Path::new("/proc")).read();
    assert!(s.battery_percent.is_none_or(|p| (0.0..=100.0).contains(&p)), "{s:?}");
    assert!(s.cpu_speed.is_none_or(|p| p > 0.0 && p <= 1.0), "{s:?}");
}
