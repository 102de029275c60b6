//! `wattlm meter calibrate`: the device's meter beside one at the wall.
//!
//! Watches the sensor while the device is idle and under load, and finds the `scale` and `offset` that make its figure
//! the wall's. Writes no configuration: it prints the lines to write.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::args::{Calibrate, Fit};
use super::meter::{open, watch_for};
use super::print::{note, Out};
use crate::clock::Monotonic;
use crate::energy::meter::Setting;
use crate::error::{Code, Error, Result};

/// Wall meters and some sensors show means over about a second, and clocks take time to rise.
const SETTLE: Duration = Duration::from_secs(3);
/// What the configuration takes.
const SCALES: std::ops::RangeInclusive<f64> = 0.01..=100.0;
const OFFSETS: std::ops::RangeInclusive<f64> = -10_000.0..=10_000.0;
/// The sensor's figures must differ by this share of their mean to tell a scale from an offset.
const SPREAD: f64 = 0.05;

/// One comparison, in watts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    sensor: f64,
    wall: f64,
}

pub(super) fn run(args: &Calibrate, setting: &Setting, sysfs: &Path, out: Out) -> Result<()> {
    let comparisons = if args.wall.is_empty() { 2 } else { args.wall.len() };
    let fit = match (args.fit, comparisons) {
        (None, 1) => {
            let message =
                "one comparison finds the scale or the offset and not both: add --fit scale or --fit offset, \
                           or give two figures: --wall IDLE,LOAD";
            return Err(Error::new(Code::InvalidRequest, message));
        }
        (Some(Fit::Both), 1) => {
            return Err(Error::new(Code::InvalidRequest, "--fit both needs two figures: --wall IDLE,LOAD"));
        }
        (fit, _) => fit.unwrap_or(Fit::Both),
    };
    let mut meter = open(Setting { source: setting.source.clone(), ..Setting::default() }, sysfs)?;
    let source = meter.info().source;
    if source.starts_with("battery:") {
        let message = "the meter is the battery, which is silent on the charger: it cannot be compared with the wall";
        return Err(Error::new(Code::InvalidRequest, message));
    }
    note(format_args!("comparing {source} with the wall, {comparisons} times for {} s", args.time.0.as_secs_f64()));
    let clock = Monotonic::start();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut points = Vec::new();
    for n in 0..comparisons {
        let busy = (cores * n).div_ceil(comparisons.max(2) - 1);
        let what = if busy == 0 { "idle".to_owned() } else { format!("{busy} of {cores} cores busy") };
        note(format_args!("{} of {comparisons}: {what}; mind the wall meter's mean", n + 1));
        let load = Load::start(busy);
        let from = watch_for(&mut meter, &clock, SETTLE);
        let to = watch_for(&mut meter, &clock, args.time.0);
        let (Some(a), Some(b)) = (from.total, to.total) else {
            return Err(Error::new(Code::NotFound, format!("{source} gave no reading; `wattlm meter` says why")));
        };
        let sensor = (b - a).over(to.fresh - from.fresh).as_f64();
        let wall = match args.wall.get(n) {
            Some(wall) => *wall,
            // The load stays until somebody has read it off.
            None => ask()?,
        };
        drop(load);
        note(format_args!("the sensor: {sensor:.3} W; the wall: {wall:.3} W"));
        points.push(Point { sensor, wall });
    }
    let (scale, offset) = solve(&points, fit).map_err(|m| Error::new(Code::InvalidRequest, m))?;
    let error = points.iter().map(|p| (p.sensor * scale + offset - p.wall).powi(2)).sum::<f64>() / points.len() as f64;
    if out.json {
        let list: Vec<_> = points.iter().map(|p| json!({"sensor_watts": p.sensor, "wall_watts": p.wall})).collect();
        return out.object(
            &json!({"source": source, "scale": scale, "offset": offset, "rms_watts": error.sqrt(), "points": list}),
        );
    }
    let mut text =
        String::from("# Write this into /etc/wattlm/wattlm.d/50-energy.toml, then: systemctl reload wattlm\n");
    if points.len() > 2 {
        text.push_str(&format!("# {} comparisons, off by {:.3} W on the whole.\n", points.len(), error.sqrt()));
    }
    text.push_str(&format!("[energy]\nsource = \"{source}\"\nscale = {scale:?}\noffset = {offset:?}"));
    out.line(text)
}

/// The wall's watts, from whoever looks at it.
fn ask() -> Result<f64> {
    let mut stdin = std::io::stdin().lock();
    loop {
        if std::io::stdin().is_terminal() {
            let _ = std::io::stderr().write_all(b"watts at the wall: ");
        }
        let mut line = String::new();
        match stdin.read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => {
                let message = "no figure of the wall meter: type it, or give --wall IDLE,LOAD";
                return Err(Error::new(Code::InvalidRequest, message));
            }
        }
        match super::args::watts(line.trim()) {
            Ok(watts) => return Ok(watts),
            Err(e) => note(e),
        }
    }
}

/// Scale and offset by least squares; one of them alone where the other is not wanted.
fn solve(points: &[Point], fit: Fit) -> std::result::Result<(f64, f64), String> {
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (sensor, wall) = (mean(&|p| p.sensor), mean(&|p| p.wall));
    let (scale, offset) = match fit {
        Fit::Offset => (1.0, wall - sensor),
        Fit::Scale => {
            let square = mean(&|p| p.sensor * p.sensor);
            if square <= 0.0 {
                return Err("the sensor showed nothing: a scale cannot be found".into());
            }
            (mean(&|p| p.sensor * p.wall) / square, 0.0)
        }
        Fit::Both => {
            let variance = mean(&|p| (p.sensor - sensor).powi(2));
            if variance.sqrt() < sensor * SPREAD / 2.0 || variance <= 0.0 {
                return Err(format!(
                    "the sensor showed nearly the same idle and under load ({sensor:.2} W): it cannot tell a scale from \
                     an offset; is the device idle when it should be? Otherwise choose one with --fit"
                ));
            }
            let scale = mean(&|p| (p.sensor - sensor) * (p.wall - wall)) / variance;
            (scale, wall - scale * sensor)
        }
    };
    // Four digits are more than a wall meter has.
    let (scale, offset) = ((scale * 1e4).round() / 1e4, (offset * 1e4).round() / 1e4);
    if SCALES.contains(&scale) && OFFSETS.contains(&offset) {
        Ok((scale, offset))
    } else {
        Err(format!("scale {scale} and offset {offset} W cannot be: were idle and load mixed up?"))
    }
}

/// Threads that keep cores busy.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(threads: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                let mut x = 0x9E37_79B9_7F4A_7C15u64;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..4096 {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                    }
                }
                x
            }
        };
        let threads = (0..threads).map(|_| std::thread::spawn(spin(Arc::clone(&stop)))).collect();
        Load { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its number is of no use; that it was computed keeps the loop from being optimized away.
            std::hint::black_box(thread.join().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(list: &[(f64, f64)]) -> Vec<Point> {
        list.iter().map(|(sensor, wall)| Point { sensor: *sensor, wall: *wall }).collect()
    }

    #[test]
    fn two_points_are_met_and_more_are_fitted() {
        // The published fit of the Raspberry Pi 5: 1.1451 times the rails and 0.5879 W.
        let two = points(&[(2.0, 2.0 * 1.1451 + 0.5879), (6.0, 6.0 * 1.1451 + 0.5879)]);
        assert_eq!(solve(&two, Fit::Both), Ok((1.1451, 0.5879)));
        let more = points(&[(1.0, 2.1), (2.0, 3.9), (3.0, 6.1), (4.0, 7.9)]);
        assert_eq!(solve(&more, Fit::Both), Ok((1.96, 0.1)));
    }

    #[test]
    fn one_point_gives_one_of_them() {
        let one = points(&[(4.0, 5.0)]);
        assert_eq!(solve(&one, Fit::Scale), Ok((1.25, 0.0)));
        assert_eq!(solve(&one, Fit::Offset), Ok((1.0, 1.0)));
        assert!(solve(&one, Fit::Both).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(solve(&points(&[(5.0, 5.0), (5.01, 9.0)]), Fit::Both).unwrap_err().contains("nearly the same"));
        assert!(solve(&points(&[(2.0, 9.0), (6.0, 3.0)]), Fit::Both).unwrap_err().contains("mixed up"));
        assert!(solve(&points(&[(0.0, 9.0)]), Fit::Scale).is_err());
    }

    #[test]
    fn a_load_ends_when_it_should() {
        let load = Load::start(2);
        assert_eq!(load.threads.len(), 2);
        drop(load);
    }
}
