//! The meter over trees of files that change as a kernel's would, on virtual time.

use std::cell::Cell;
use std::fs;

use super::*;

thread_local! {
    static ASLEEP: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A tree with one thing after another in it.
struct Tree {
    dir: tempfile::TempDir,
    now: Cell<u64>,
}

const RANGE: u64 = 262_143_328_850;

impl Tree {
    fn new() -> Tree {
        ASLEEP.set(Duration::ZERO);
        Tree { dir: tempfile::tempdir().unwrap(), now: Cell::new(1_000_000_000) }
    }

    fn put(&self, file: &str, text: impl std::fmt::Display) {
        let path = self.dir.path().join("class").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn package(&self, n: u32, uj: u64) {
        let zone = format!("powercap/intel-rapl:{n}");
        self.put(&format!("{zone}/name"), format!("package-{n}"));
        self.put(&format!("{zone}/max_energy_range_uj"), RANGE);
        self.energy(n, uj);
    }

    fn energy(&self, n: u32, uj: u64) {
        self.put(&format!("powercap/intel-rapl:{n}/energy_uj"), uj);
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join("class").join(file)).unwrap();
    }

    fn open(&self, setting: Setting) -> Meter {
        Meter::start(setting, self.dir.path(), Ambient { asleep: || ASLEEP.get(), busy: || Duration::ZERO })
    }

    fn auto(&self) -> Meter {
        self.open(Setting::default())
    }

    /// Reads, this long after the last time.
    fn read(&self, meter: &mut Meter, after_ms: u64) -> Reading {
        self.now.set(self.now.get() + after_ms * 1_000_000);
        meter.read(Time(self.now.get()))
    }
}

fn joules(reading: Reading) -> Option<f64> {
    reading.total.map(Microjoules::as_f64)
}

#[test]
fn packages_are_summed_through_a_wrap() {
    let tree = Tree::new();
    tree.package(0, RANGE - 999_999);
    tree.package(1, 5);
    let mut meter = tree.auto();
    let info = meter.info();
    assert_eq!((info.source.as_str(), info.scope), ("rapl:package-0+rapl:package-1", Scope::Package));
    assert_eq!(joules(tree.read(&mut meter, 0)), Some(0.0));
    tree.energy(0, 1_000_000);
    tree.energy(1, 500_005);
    let reading = tree.read(&mut meter, 100);
    assert_eq!((joules(reading), reading.bridged), (Some(2.5), false));
    assert!(reading.fresh <= reading.at);
}

#[test]
fn a_file_that_vanishes_and_comes_back_is_bridged() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    tree.remove("powercap/intel-rapl:0/energy_uj");
    assert_eq!(joules(tree.read(&mut meter, 100)), None);
    tree.energy(0, 30_000_000);
    // Not tried again before a second has passed.
    assert_eq!(joules(tree.read(&mut meter, 900)), None);
    let back = tree.read(&mut meter, 100);
    assert_eq!((joules(back), back.bridged), (Some(30.0), true));
    assert!(!tree.read(&mut meter, 100).bridged);
}

#[test]
fn a_counter_that_was_reset_begins_anew_and_says_that_it_does_not_know() {
    let tree = Tree::new();
    tree.package(0, RANGE / 2);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    tree.energy(0, RANGE / 2 + 4_000_000);
    tree.read(&mut meter, 100);
    tree.energy(0, 7);
    assert_eq!(joules(tree.read(&mut meter, 100)), None);
    tree.energy(0, 9_000_000);
    let back = tree.read(&mut meter, 1000);
    assert_eq!((joules(back), back.bridged), (Some(4.0), false));
    tree.energy(0, 10_000_000);
    assert_eq!(joules(tree.read(&mut meter, 100)), Some(5.0));
}

#[test]
fn garbage_is_no_reading_and_waits_grow_up_to_a_minute() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    for garbage in ["", "abc", "-5", "12 uJ", "99999999999999999999999"] {
        tree.put("powercap/intel-rapl:0/energy_uj", garbage);
        assert_eq!(joules(tree.read(&mut meter, 200_000)), None, "{garbage}");
        tree.energy(0, 0);
        let mut waited = 0;
        while tree.read(&mut meter, 1000).total.is_none() {
            waited += 1;
        }
        assert!(waited <= 1, "{garbage}: {waited}");
    }
    tree.energy(0, 1);
    assert!(tree.read(&mut meter, 100_000).total.is_some());
    tree.put("powercap/intel-rapl:0/energy_uj", "x");
    let mut tries = Vec::new();
    let mut before = None;
    for s in 0..400u64 {
        tree.read(&mut meter, 1000);
        let retry = meter.members[0].out.as_ref().map(|o| o.retry());
        if retry != before {
            tries.push(s);
            before = retry;
        }
    }
    let waits: Vec<u64> = tries.windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(waits[..7], [1, 2, 4, 8, 16, 32, 60]);
}

#[test]
fn what_stands_still_is_out_until_it_moves() {
    let tree = Tree::new();
    tree.package(0, 7);
    let mut meter = tree.auto();
    for _ in 0..31 {
        assert_eq!(joules(tree.read(&mut meter, 100)), Some(0.0));
    }
    for _ in 0..600 {
        assert_eq!(joules(tree.read(&mut meter, 100)), None);
    }
    tree.energy(0, 60_000_007);
    while tree.read(&mut meter, 100).total.is_none() {
        assert!(tree.now.get() < 200_000_000_000);
    }
    tree.energy(0, 61_000_007);
    assert_eq!(joules(tree.read(&mut meter, 100)), Some(61.0));
}

#[test]
fn sleep_is_left_out() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    ASLEEP.set(Duration::from_secs(3600));
    tree.energy(0, 900_000_000);
    assert_eq!(joules(tree.read(&mut meter, 100)), None);
    let awake = tree.read(&mut meter, 100);
    assert_eq!((joules(awake), awake.bridged), (Some(0.0), false));
    tree.energy(0, 901_000_000);
    assert_eq!(joules(tree.read(&mut meter, 100)), Some(1.0));
}

#[test]
fn a_pause_is_in_a_counters_total_and_not_in_that_of_integrated_power() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    tree.energy(0, 600_000_000);
    let resumed = meter.resume(Time(tree.now.get() + 60_000_000_000));
    assert_eq!((joules(resumed), resumed.bridged), (Some(600.0), true));

    let tree = Tree::new();
    jetson(&tree, 5000, 1000);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    tree.now.set(tree.now.get() + 60_000_000_000);
    let resumed = meter.resume(Time(tree.now.get()));
    assert_eq!((joules(resumed), resumed.bridged), (Some(0.0), false));
    assert_eq!(joules(tree.read(&mut meter, 1000)), Some(4.5));
}

fn jetson(tree: &Tree, mv: u32, ma: u32) {
    tree.put("hwmon/hwmon3/name", "ina3221");
    for (n, label) in ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"].iter().enumerate() {
        tree.put(&format!("hwmon/hwmon3/in{}_label", n + 1), label);
        tree.put(&format!("hwmon/hwmon3/in{}_input", n + 1), mv);
        tree.put(&format!("hwmon/hwmon3/curr{}_input", n + 1), ma);
    }
}

#[test]
fn the_supply_alone_is_used_and_integrated() {
    let tree = Tree::new();
    tree.package(0, 0);
    jetson(&tree, 5000, 1000);
    let mut meter = tree.auto();
    assert_eq!((meter.info().source.as_str(), meter.info().scope), ("ina3221:VDD_IN", Scope::Board));
    tree.read(&mut meter, 0);
    jetson(&tree, 5000, 2000);
    // Up to the last refresh, for which the new value holds.
    let reading = tree.read(&mut meter, 1000);
    assert_eq!((joules(reading), reading.fresh), (Some(7.375), Time(reading.at.0 - 50_000_000)));
}

#[test]
fn another_sensor_stands_in_for_one_that_stays_away_and_makes_room_again() {
    let tree = Tree::new();
    tree.package(0, 0);
    jetson(&tree, 5000, 1000);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    assert_eq!(joules(tree.read(&mut meter, 1000)), Some(4.5));
    let epoch = meter.epoch();
    tree.put("hwmon/hwmon3/curr1_input", "?");
    while tree.read(&mut meter, 1000).total.is_none() {
        assert!(tree.now.get() < 20_000_000_000);
    }
    assert_eq!((meter.info().source.as_str(), meter.epoch()), ("rapl:package-0", epoch + 1));
    tree.energy(0, 3_000_000);
    assert_eq!(joules(tree.read(&mut meter, 1000)), Some(7.5));
    jetson(&tree, 5000, 1000);
    let mut n = 0;
    while meter.info().scope != Scope::Board {
        n += 1;
        tree.energy(0, 3_000_000 + n * 1_000_000);
        tree.read(&mut meter, 1000);
        assert!(n < 200);
    }
    // What the stand-in had counted stays, and nothing is counted by both.
    tree.read(&mut meter, 1000);
    let total = joules(tree.read(&mut meter, 1000)).unwrap();
    assert_eq!(joules(tree.read(&mut meter, 1000)), Some(total + 5.0));
}

#[test]
fn scale_and_offset_apply_to_what_is_counted() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut meter = tree.open(Setting { scale: 1.5, offset: 2.0, ..Setting::default() });
    tree.read(&mut meter, 0);
    for n in 1..=1000 {
        tree.energy(0, n * 333_333);
        tree.read(&mut meter, 100);
    }
    let total = joules(tree.read(&mut meter, 0)).unwrap();
    assert!((total - (333.333 * 1.5 + 200.0)).abs() < 1e-4, "{total}");
    // Less than nothing is nothing, and the count never falls.
    meter.set(Setting { offset: -100.0, ..Setting::default() });
    tree.energy(0, 334_000_000);
    assert_eq!(joules(tree.read(&mut meter, 100)), Some(total));
}

#[test]
fn a_negative_offset_is_taken_between_two_refreshes_too() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut meter = tree.open(Setting { offset: -1.0, ..Setting::default() });
    tree.read(&mut meter, 0);
    for n in 1..=100u64 {
        // 5 W, seen every second reading.
        tree.energy(0, n / 2 * 2 * 500_000);
        tree.read(&mut meter, 100);
    }
    assert_eq!(joules(tree.read(&mut meter, 0)).map(f64::round), Some(40.0));
}

#[test]
fn no_sensor_is_a_meter_without_readings_until_one_appears() {
    let tree = Tree::new();
    let mut meter = tree.auto();
    assert_eq!((joules(tree.read(&mut meter, 0)), meter.info().source.as_str()), (None, ""));
    tree.package(0, 0);
    while tree.read(&mut meter, 1000).total.is_none() {
        assert!(tree.now.get() < 10_000_000_000);
    }
    assert_eq!(meter.info().source, "rapl:package-0");
    let mut none = tree.open(Setting { source: "none".into(), ..Setting::default() });
    assert_eq!(joules(tree.read(&mut none, 1000)), None);
    let mut missing = tree.open(Setting { source: "ina3221:VDD_IN".into(), ..Setting::default() });
    assert_eq!(joules(tree.read(&mut missing, 1000)), None);
    jetson(&tree, 5000, 1000);
    while tree.read(&mut missing, 1000).total.is_none() {
        assert!(tree.now.get() < 200_000_000_000);
    }
}

#[test]
fn a_battery_counts_while_it_discharges() {
    let tree = Tree::new();
    for (file, text) in [("type", "Battery"), ("status", "Full"), ("power_now", "5000000")] {
        tree.put(&format!("power_supply/BAT0/{file}"), text);
    }
    let mut meter = tree.auto();
    assert_eq!((joules(tree.read(&mut meter, 0)), meter.info().source.as_str()), (None, "battery:BAT0"));
    tree.put("power_supply/BAT0/status", "Discharging");
    let unplugged = tree.read(&mut meter, 1000);
    assert_eq!((joules(unplugged), unplugged.bridged), (Some(0.0), false));
    assert_eq!(joules(tree.read(&mut meter, 2000)), Some(5.0));
    tree.put("power_supply/BAT0/status", "Charging");
    assert_eq!(joules(tree.read(&mut meter, 1000)), None);
}

#[test]
fn one_package_that_fails_silences_the_sum_and_the_other_is_not_lost() {
    let tree = Tree::new();
    tree.package(0, 0);
    tree.package(1, 0);
    let mut meter = tree.auto();
    tree.read(&mut meter, 0);
    tree.put("powercap/intel-rapl:1/energy_uj", "?");
    for n in 1..=10 {
        tree.energy(0, n * 1_000_000);
        assert_eq!(joules(tree.read(&mut meter, 100)), None);
    }
    tree.energy(1, 4_000_000);
    let back = tree.read(&mut meter, 1000);
    assert_eq!((joules(back), back.bridged), (Some(14.0), true));
}

#[test]
fn every_fixture_has_the_meter_that_it_should() {
    for (name, source) in [
        ("rapl-laptop", "rapl:package-0"),
        ("jetson-orin-nano", "ina3221:VDD_IN"),
        ("raspberry-pi-5", ""),
        ("amd-apu", "rapl:package-0"),
    ] {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sysfs").join(name);
        assert_eq!(Meter::with(Setting::default(), &tree).info().source, source, "{name}");
    }
}

/// What a reading costs: `cargo test --lib -- --ignored --nocapture a_reading`.
#[test]
#[ignore = "a measurement"]
fn a_reading_costs_few_microseconds() {
    for name in ["rapl-laptop", "jetson-orin-nano"] {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sysfs").join(name);
        let mut meter = Meter::with(Setting::default(), &tree);
        let start = Instant::now();
        for n in 0..100_000u64 {
            meter.read(Time(n * 1000));
        }
        println!("{name}: {:.2} µs", start.elapsed().as_secs_f64() * 10.0);
    }
}

#[test]
fn what_cards_count_beside_packages_is_told_apart() {
    let tree = Tree::new();
    tree.package(0, 0);
    let mut alone = tree.auto();
    assert_eq!(tree.read(&mut alone, 0).cards, None);
    tree.put("hwmon/hwmon3/name", "xe");
    tree.put("hwmon/hwmon3/energy1_label", "card");
    tree.put("hwmon/hwmon3/energy1_input", 100);
    let mut meter = tree.open(Setting { scale: 2.0, offset: 1.0, ..Setting::default() });
    assert_eq!((meter.info().source.as_str(), meter.info().cards), ("rapl:package-0+xe:card", false));
    assert_eq!(tree.read(&mut meter, 0).cards, Some(Microjoules(0)));
    tree.energy(0, 3_000_000);
    tree.put("hwmon/hwmon3/energy1_input", 1_000_100);
    let reading = tree.read(&mut meter, 100);
    // The offset is the rest's.
    assert_eq!((joules(reading), reading.cards), (Some(8.1), Some(Microjoules(2_000_000))));
    tree.remove("hwmon/hwmon3/energy1_input");
    tree.energy(0, 4_000_000);
    let out = tree.read(&mut meter, 100);
    assert_eq!((out.total, out.cards), (None, None));
    tree.put("hwmon/hwmon3/energy1_input", 1_500_100);
    let back = tree.read(&mut meter, 1000);
    assert_eq!((joules(back), back.cards, back.bridged), (Some(8.1 + 3.0 + 1.1), Some(Microjoules(3_000_000)), true));
}
