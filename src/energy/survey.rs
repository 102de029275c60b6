//! All sensors of a device, read for a while side by side: the list that `wattlm meter` prints.
//!
//! Unlike the meter it waits: as long as it is told to, which is what measuring a refresh interval takes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::choose::{choose, Found};
use super::counter::{Moment, Tracker};
use super::meter::Setting;
use super::sources::{discover, Fault, Kind, Source};
use super::Scope;
use crate::clock::{asleep, Time};
use crate::units::{Microjoules, Microwatts};

/// The fastest that a sensor is read,
const FASTEST: Duration = Duration::from_micros(250);
/// and the slowest.
const SLOWEST: Duration = Duration::from_millis(20);
/// Readings of a sensor per refresh that its documentation promises.
const FINENESS: u32 = 8;

/// One sensor.
#[derive(Debug, Clone, Serialize)]
pub struct Sensor {
    /// As the configuration names it.
    pub name: String,
    /// What it is, for people.
    pub what: &'static str,
    /// What it sees.
    pub scope: Scope,
    /// It counts by itself; otherwise it shows power.
    pub counter: bool,
    /// What is read.
    pub path: PathBuf,
    /// The meter uses it.
    pub used: bool,
    /// Why, or why not.
    pub why: String,
    /// Time between two refreshes, in seconds, where it was long enough to tell.
    pub refresh_s: Option<f64>,
    /// Mean power while it was watched.
    pub watts: Option<Microwatts>,
    /// What one reading takes, in microseconds.
    pub read_us: Option<f64>,
    /// Why it cannot be read.
    #[serde(skip)]
    pub fault: Option<Fault>,
}

/// The whole.
#[derive(Debug, Clone, Serialize)]
pub struct Survey {
    /// The meter's name; empty: none.
    pub source: String,
    /// What it sees; `None`: there is none.
    pub scope: Option<Scope>,
    /// Its mean power, scaled as the configuration says.
    pub watts: Option<Microwatts>,
    /// What is wrong with the setting.
    pub complaint: Option<String>,
    /// Every sensor.
    pub sensors: Vec<Sensor>,
}

/// A sensor while it is watched.
struct Watch {
    source: Box<dyn Source>,
    tracker: Tracker,
    pause: Duration,
    due: Duration,
    first: Option<Time>,
    last: Time,
    raw: Option<u64>,
    energy: u64,
    /// Energy up to the value's last change, which is as far as a counter tells.
    changed: Option<(Time, u64)>,
    reads: u32,
    cost: Duration,
}

/// Reads everything below `sysfs` for this long; with `machine`, what belongs to this machine as well.
pub fn survey(setting: &Setting, sysfs: &Path, machine: bool, time: Duration) -> Survey {
    let mut sources = discover(sysfs, machine);
    let found: Vec<Found> = sources.iter_mut().map(|s| Found { value: s.read(), spec: s.spec().clone() }).collect();
    let choice = choose(&setting.source, &found);
    let mut watched: Vec<Watch> = sources.into_iter().map(Watch::new).collect();
    watch(&mut watched, time);
    let sensors: Vec<Sensor> = watched
        .iter()
        .enumerate()
        .map(|(i, w)| w.sensor(choice.used.contains(&i), choice.why[i].clone(), found[i].value.clone().err()))
        .collect();
    let used = || sensors.iter().filter(|s| s.used);
    let sum: Option<Microwatts> = used().map(|s| s.watts).sum();
    let scaled = |w: Microwatts| Microwatts::from_f64(w.as_f64() * setting.scale + setting.offset);
    Survey {
        source: used().map(|s| s.name.as_str()).collect::<Vec<_>>().join("+"),
        scope: used().next().map(|_| choice.scope(&found)),
        watts: sum.filter(|_| used().next().is_some()).map(scaled),
        complaint: choice.complaint,
        sensors,
    }
}

fn watch(watched: &mut [Watch], time: Duration) {
    let start = Instant::now();
    let slept = asleep();
    loop {
        let now = start.elapsed();
        for w in watched.iter_mut().filter(|w| w.due <= now) {
            w.read(start, slept);
        }
        let next = watched.iter().map(|w| w.due).min();
        let Some(next) = next.filter(|n| *n < time) else { break };
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
    std::thread::sleep(time.saturating_sub(start.elapsed()));
    for w in watched {
        if let Some((at, _)) = w.changed {
            w.tracker.refresh_mut().conclude_at(at);
        }
    }
}

impl Watch {
    fn new(source: Box<dyn Source>) -> Watch {
        let pause = (source.spec().refresh / FINENESS).clamp(FASTEST, SLOWEST);
        let tracker = Tracker::new(source.spec());
        let (first, last, raw, changed) = (None, Time::ZERO, None, None);
        let (due, cost) = (Duration::ZERO, Duration::ZERO);
        Watch { source, tracker, pause, due, first, last, raw, energy: 0, changed, reads: 0, cost }
    }

    fn read(&mut self, start: Instant, slept: Duration) {
        let begun = start.elapsed();
        let value = self.source.read();
        let now = start.elapsed();
        self.due = now + self.pause;
        let Ok(raw) = value else { return };
        self.cost += now - begun;
        self.reads += 1;
        let at = Time::ZERO + now;
        match self.tracker.next(raw, Moment { at, asleep: slept }, Duration::default) {
            Ok(energy) => self.energy += energy.map_or(0, |e| e.0),
            Err(_) => {
                // Begins anew: a list for people needs no bridge.
                self.tracker.bridge(raw, Moment { at, asleep: slept });
                (self.first, self.energy, self.raw, self.changed) = (None, 0, None, None);
            }
        }
        // A counter is timed from one change of it to another, or a slow one would show too little or too much.
        let changed = self.raw.is_some_and(|r| r != raw);
        let starts = match self.source.spec().kind {
            Kind::Counter { .. } => changed,
            Kind::Power => true,
        };
        // Power is told up to the last refresh.
        let upto = if self.source.spec().kind == Kind::Power { self.tracker.fresh() } else { at };
        if self.first.is_none() && starts {
            (self.first, self.energy) = (Some(upto), 0);
        }
        if changed || self.source.spec().kind == Kind::Power {
            self.changed = Some((upto, self.energy));
        }
        (self.raw, self.last) = (Some(raw), at);
    }

    fn watts(&self) -> Option<Microwatts> {
        let first = self.first?;
        let (last, energy) = self.changed?;
        match self.source.spec().kind {
            // Too short to see a refresh.
            Kind::Power if last == first => self.raw.map(Microwatts),
            _ if last == first => None,
            _ => Some(Microjoules(energy).over(last.since(first))),
        }
    }

    fn sensor(&self, used: bool, why: String, fault: Option<Fault>) -> Sensor {
        let spec = self.source.spec();
        Sensor {
            name: spec.name.clone(),
            what: spec.what,
            scope: spec.scope,
            counter: spec.kind != Kind::Power,
            path: spec.path.clone(),
            used,
            why,
            refresh_s: self.tracker.refresh().measured().map(|d| d.as_secs_f64()),
            watts: self.watts(),
            read_us: (self.reads > 0).then(|| self.cost.as_secs_f64() * 1e6 / f64::from(self.reads)),
            fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_moves_is_timed_and_measured() {
        let dir = tempfile::tempdir().unwrap();
        let zone = dir.path().join("class/powercap/intel-rapl:0");
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("name"), "package-0\n").unwrap();
        std::fs::write(zone.join("max_energy_range_uj"), "262143328850\n").unwrap();
        let file = zone.join("energy_uj");
        std::fs::write(&file, "1000\n").unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // 5 W, shown every 20 ms.
                let start = Instant::now();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let uj = 1000 + start.elapsed().as_micros() * 5;
                    let new = zone.join("new");
                    std::fs::write(&new, format!("{uj}\n")).unwrap();
                    std::fs::rename(&new, &file).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let survey = survey(&Setting::default(), dir.path(), false, Duration::from_millis(600));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let sensor = &survey.sensors[0];
            let (watts, refresh) = (sensor.watts.unwrap().as_f64(), sensor.refresh_s.unwrap());
            assert!((4.5..5.5).contains(&watts) && (0.019..0.06).contains(&refresh), "{watts} W every {refresh} s");
            assert_eq!((survey.source.as_str(), survey.scope), ("rapl:package-0", Some(Scope::Package)));
        });
    }

    #[test]
    fn a_tree_without_sensors_has_no_meter() {
        let dir = tempfile::tempdir().unwrap();
        let survey = survey(&Setting::default(), dir.path(), false, Duration::ZERO);
        assert_eq!((survey.source.as_str(), survey.scope, survey.watts), ("", None, None));
    }
}
