//! Energy end to end: a real daemon meters a plant, and what it charges is held against the plant's truth.
//!
//! These are the short forms of what `make bench-energy` measures, with room for a busy machine.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::bed::{ask, become_user, many_users, Bed, Words, DEMO, MODEL};
use common::measure::{self, USERS};
use common::plant::{now, Plant};
use serde_json::Value;
use wattlm::client::Client;
use wattlm::signals::Reader;

/// One at a time: what another test runs would be another program's work.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A RAPL package, and what else a laptop has.
const LAPTOP: [&str; 2] = ["--trees", "rapl,battery,thermal,cpufreq"];

/// What a busy core of the plant adds, about: how much a machine draws when idle cannot be learned where other programs
/// never let it be.
const KNOWN: &str = "[energy]\nidle = '2W'\ncore = '2.4W'\n";

/// A figure of a measurement.
fn figure(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

#[test]
fn the_plant_shows_what_its_truth_says() {
    let _alone = alone();
    // Wraps every few seconds, and is out for one.
    let mut plant = Plant::start(&["--wrap-j", "9", "--start-j", "5", "--outage", "1:1:vanish"]);
    let counter = "class/powercap/intel-rapl:0/energy_uj";
    let (mut read, mut gone) = (Vec::new(), 0);
    let end = now() + 4_000_000_000;
    while now() < end {
        let (before, text, after) = (now(), plant.shows(counter), now());
        match text.parse::<f64>() {
            Ok(uj) => read.push((before, uj / 1e6, after)),
            Err(_) => gone += 1,
        }
        std::thread::sleep(Duration::from_millis(7));
    }
    let truth = plant.truth();
    for (before, joules, after) in &read {
        // What it shows is at most one refresh and one late tick old.
        let (low, high) = (truth.at(before - 30_000_000).total, truth.at(*after).total);
        let turns = ((5.0 + high - joules) / 9.0).floor();
        let shown = joules + 9.0 * turns - 5.0;
        assert!(shown >= low - 1e-3 && shown <= high + 1e-3, "{low} {shown} {high}");
    }
    assert!(gone > 20 && truth.outages.len() == 1, "{gone} {:?}", truth.outages);
    let all = truth.between(plant.started, end);
    assert!(all.idle > 6.0 && all.idle < 10.0, "2 W for 4 s: {all:?}");
    assert!(plant.cpu() < Duration::from_millis(400), "the plant is cheap: {:?}", plant.cpu());
}

#[test]
fn the_plants_device_reads_as_signals() {
    let _alone = alone();
    let mut plant = Plant::start(&["--battery", "64", "--charger", "0", "--ambient", "30"]);
    let reader = Reader::new(&plant.sysfs(), "/proc".as_ref());
    let s = reader.read();
    assert!(s.on_battery && s.battery_percent == Some(64.0), "{s:?}");
    assert!(s.temperature.is_some_and(|t| (29.0..40.0).contains(&t)), "{s:?}");
    assert!(s.thermal_headroom.is_some_and(|h| (45.0..56.0).contains(&h)), "{s:?}");
    assert_eq!(s.cpu_speed, Some(1.0));
    for command in ["charger 1", "battery 12", "freq 0.5"] {
        plant.say(command);
    }
    common::eventually("the plant changes", || {
        let s = reader.read();
        !s.on_battery && s.battery_percent == Some(12.0) && s.cpu_speed == Some(0.5)
    });
}

#[test]
fn a_lone_request_is_charged_what_it_used() {
    let _alone = alone();
    let mut bed = Bed::new(&LAPTOP, KNOWN);
    let near = |figures: &Value| {
        println!("{figures}");
        assert_eq!(figure(figures, "estimated"), 0.0, "{figures}");
        figure(figures, "sum_error_percent").abs() < 4.0
            && figure(figures, "error_max_percent") < 8.0
            && figure(figures, "bar_holds_truth") >= 0.6
    };
    // A virtual machine may lose its processor for a second, which neither the plant nor the daemon can see.
    let figures = measure::single(&mut bed, 5, 2.0);
    if !near(&figures) {
        let again = measure::single(&mut bed, 5, 2.0);
        assert!(near(&again), "{figures}\n{again}");
    }
}

#[test]
fn three_times_the_work_is_three_times_the_charge() {
    let _alone = alone();
    let mut bed = Bed::new(&LAPTOP, &format!("{KNOWN}[models]\nslots = 4\n"));
    let figures = measure::shares(&mut bed, 2, 1.2);
    println!("{figures}");
    assert!(figure(&figures, "error_percent").abs() < 6.0, "{figures}");
    assert!(figure(&figures, "sum_error_percent").abs() < 5.0, "{figures}");
}

/// 15 s, or `WATTLM_ENERGY_SECONDS`.
#[test]
fn the_parts_sum_to_the_meter_through_a_wrap_and_an_outage() {
    let _alone = alone();
    let seconds = std::env::var("WATTLM_ENERGY_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(15);
    let outage = format!("{}:4:vanish", 5 + seconds / 3);
    let mut bed = Bed::new(&[&LAPTOP[..], &["--wrap-j", "40", "--outage", &outage]].concat(), "");
    let figures = measure::sum(&mut bed, Duration::from_secs(seconds));
    println!("{figures}");
    assert!(figure(&figures, "parts_less_metered_j").abs() < 1e-5, "{figures}");
    assert!(figure(&figures, "error_percent").abs() < 3.0, "{figures}");
    assert!(figure(&figures, "outages") == 1.0 && figure(&figures, "true_j") > 40.0, "{figures}");
    assert!(figure(&figures, "estimated_j") > 0.0, "the outage is marked: {figures}");
    // Nothing is charged twice: what all were told is what was charged, but for what was rounded and the two small
    // requests of the measurement itself.
    let (told, charged) = (figure(&figures, "receipts_j"), figure(&figures, "charged_j"));
    assert!((told - charged).abs() < 0.03 * charged + 1.0, "{figures}");
}

#[test]
fn without_a_sensor_everything_works_and_says_estimated() {
    let _alone = alone();
    let bed = Bed::new(&["--trees", "none"], KNOWN);
    let speed = bed.speed(MODEL);
    let first = bed.account();
    let answer = ask(&bed.client, MODEL, &Words::new(3).text(8), speed as u64 + 16);
    assert_eq!(answer.quality(), "estimated", "{}", answer.receipt);
    assert_eq!(answer.receipt["energy"]["source"], "model");
    assert!(answer.energy("joules") > 0.3, "{}", answer.receipt);
    let last = bed.account();
    let part = |name: &str| last.joules(name) - first.joules(name);
    assert!(part("metered_j") > 0.3 && (part("estimated_j") - part("metered_j")).abs() < 1e-4, "{}", last.json);
    let sum: f64 = measure::PARTS.iter().map(|p| last.joules(p)).sum();
    assert!((sum - last.joules("metered_j")).abs() < 1e-5, "{}", last.json);
}

#[test]
fn a_sensor_of_rails_is_read_by_its_whole() {
    let _alone = alone();
    let mut bed = Bed::new(&["--trees", "ina"], "");
    let speed = bed.speed(MODEL);
    let first = bed.account();
    let tokens = (speed * 4.0) as u64;
    let answer = ask(&bed.client, MODEL, &Words::new(4).text(8), tokens.clamp(16, 1500));
    let last = bed.account();
    let truth = bed.plant.truth().between(first.at, last.at);
    let metered = last.joules("metered_j") - first.joules("metered_j");
    // The rails inside VDD_IN would add as much again.
    assert!((metered / truth.total - 1.0).abs() < 0.1, "{metered} of {}: {}", truth.total, last.json);
    assert_eq!(answer.receipt["energy"]["scope"], "board", "{}", answer.receipt);
}

#[test]
fn raw_readings_are_for_administrators() {
    let _alone = alone();
    let bed = Bed::new(&LAPTOP, "");
    bed.account();
    if !many_users() {
        return;
    }
    let socket = bed.daemon.socket.clone();
    let code = std::thread::spawn(move || {
        become_user(USERS[0]);
        let client = Client::connect(&socket).expect("anybody may ask");
        // What it asks for itself it is told.
        assert!(ask(&client, DEMO, "turn", 16).energy("joules") >= 0.0);
        client.json("GET", "/wattlm/v1/energy", None).err().map(|e| e.code)
    });
    assert_eq!(code.join().expect("a code"), Some(wattlm::error::Code::Forbidden));
}

#[test]
fn an_idle_daemon_with_a_model_sleeps() {
    let _alone = alone();
    let mut bed = Bed::new(&LAPTOP, "");
    let figures = measure::idle(&mut bed, Duration::from_secs(8));
    assert!(figure(&figures, "wakeups") <= 8.0 + 2.0, "{figures}");
}
