//! `wattlm meter`: the device's energy sensors, which of them the service uses, and what they show.
//!
//! Reads the sensors itself, with the caller's own rights, and asks no service: fine-grained energy tells of other
//! programs, and whoever may not read a sensor learns nothing of it here. It chooses as the service does, from the
//! same configuration.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::args;
use super::calibrate;
use super::print::{note, table, Out};
use crate::clock::Monotonic;
use crate::energy::meter::{Meter, Setting};
use crate::energy::sources::Fault;
use crate::energy::survey::{survey, Sensor, Survey};
use crate::energy::Scope;
use crate::error::{Code, Error, Result};
use crate::units::{Microjoules, Microwatts};

/// Time between two readings while something is watched: the service's own default.
const SAMPLE: Duration = Duration::from_millis(100);

pub(super) fn run(args: args::Meter, out: Out) -> Result<ExitCode> {
    let (setting, sysfs) = configured(&args)?;
    match args.command {
        Some(args::MeterCommand::Calibrate(calibration)) => calibrate::run(&calibration, &setting, &sysfs, out)?,
        None => match args.watch {
            Some(every) => watch(&setting, &sysfs, every.0, out)?,
            None => return list(&setting, &sysfs, args.time.0, out),
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// What the configuration says, and the command line above it.
fn configured(args: &args::Meter) -> Result<(Setting, PathBuf)> {
    let config = super::config::load()?;
    let mut setting = Setting::from(&config.energy);
    if let Some(source) = &args.source {
        setting.source.clone_from(source);
    }
    Ok((setting, args.sysfs.clone().unwrap_or(config.paths.sysfs)))
}

fn list(setting: &Setting, sysfs: &Path, time: Duration, out: Out) -> Result<ExitCode> {
    let named = ["nvml:", "pmic:"].iter().any(|n| setting.source.contains(n));
    let survey = survey(setting, sysfs, named || sysfs == Path::new("/sys"), time);
    if out.json {
        out.object(&survey)?;
    } else {
        out.line(page(&survey, setting))?;
        let denied = survey.sensors.iter().filter(|s| s.fault == Some(Fault::Denied));
        for (first, s) in denied.enumerate().map(|(i, s)| (i == 0, s)) {
            let how = if first { "; docs/energy.md says how to allow it to the service" } else { "" };
            note(format_args!("{}: {}{how}", s.name, who_may(&s.path)));
        }
    }
    // A script that wants a meter must not take its absence for an answer.
    Ok(if survey.source.is_empty() && setting.source != "none" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Rail => "rail",
        Scope::Package => "package",
        Scope::Board => "board",
    }
}

fn page(survey: &Survey, setting: &Setting) -> String {
    let mut page = String::new();
    if !survey.sensors.is_empty() {
        let head = ["SENSOR", "COVERS", "SHOWS", ">EVERY", ">WATTS", "IN USE"];
        page = table(&head, &survey.sensors.iter().map(row).collect::<Vec<_>>()) + "\n\n";
    }
    if let Some(complaint) = &survey.complaint {
        page.push_str(&format!("The configuration's 'source' cannot be used as it is: {complaint}.\n"));
    }
    match survey.scope {
        Some(scope) => {
            let watts = survey.watts.map_or_else(|| "it has not moved while it was watched".into(), |w| w.to_string());
            page.push_str(&format!("The meter is {} ({}): {watts}", survey.source, scope_name(scope)));
            if setting.scale != 1.0 || setting.offset != 0.0 {
                page.push_str(&format!(", with scale {} and offset {} W", setting.scale, setting.offset));
            }
            let cost: f64 = survey.sensors.iter().filter(|s| s.used).filter_map(|s| s.read_us).sum();
            page.push_str(&format!(". A reading takes {cost:.0} µs."));
        }
        None if setting.source == "none" => page.push_str("The configuration wants no sensor: energy is estimated."),
        None if survey.sensors.is_empty() => page.push_str("This device has no energy sensor: energy is estimated."),
        None => page.push_str("None of the sensors can be used: energy is estimated."),
    }
    page
}

fn row(s: &Sensor) -> Vec<String> {
    vec![
        s.name.clone(),
        format!("{}: {}", scope_name(s.scope), s.what),
        if s.counter { "energy" } else { "power" }.into(),
        s.refresh_s.map(interval).unwrap_or_default(),
        s.watts.map(|w| w.to_string()).unwrap_or_default(),
        s.why.clone(),
    ]
}

/// A refresh interval: `1.0 ms`, `140 ms`, `2.0 s`.
fn interval(s: f64) -> String {
    match s {
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// Whom a file lets in, and what to do about it.
fn who_may(path: &Path) -> String {
    let file = path.display();
    let Ok(meta) = path.metadata() else { return format!("{file} may not be read: run it as root") };
    let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(meta.gid())).ok().flatten();
    let group = group.map_or_else(|| meta.gid().to_string(), |g| g.name);
    let owner = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(meta.uid())).ok().flatten();
    let owner = owner.map_or_else(|| meta.uid().to_string(), |u| u.name);
    let mode = meta.mode() & 0o777;
    if mode & 0o040 != 0 {
        format!("{file} may be read by the group '{group}': run it as root or as a member of that group")
    } else {
        format!("{file} may be read by its owner '{owner}' only (group '{group}', mode {mode:04o}): run it as root")
    }
}

/// The meter, or why there is none.
pub(super) fn open(setting: Setting, sysfs: &Path) -> Result<Meter> {
    let found = survey(&setting, sysfs, sysfs == Path::new("/sys"), Duration::ZERO);
    let meter = Meter::with(setting, sysfs);
    if !meter.info().source.is_empty() {
        return Ok(meter);
    }
    if let Some(s) = found.sensors.iter().find(|s| s.fault == Some(Fault::Denied)) {
        return Err(Error::new(Code::Forbidden, format!("no meter: {}", who_may(&s.path))));
    }
    let why = found.complaint.unwrap_or_else(|| "this device has no energy sensor that works".into());
    Err(Error::new(Code::NotFound, format!("no meter: {why}; `wattlm meter` lists what there is")))
}

/// Shows the meter until somebody has seen enough.
fn watch(setting: &Setting, sysfs: &Path, every: Duration, out: Out) -> Result<()> {
    let mut meter = open(setting.clone(), sysfs)?;
    let clock = Monotonic::start();
    if !out.json {
        note(format_args!("{} ({}); Ctrl-C ends it", meter.info().source, scope_name(meter.info().scope)));
    }
    let mut before = meter.read(clock.now());
    loop {
        let seen = watch_for(&mut meter, &clock, every);
        let watts = match (before.total, seen.total) {
            (Some(a), Some(b)) if seen.fresh > before.fresh => Some((b - a).over(seen.fresh - before.fresh)),
            _ => None,
        };
        if out.json {
            let (joules, source) = (seen.total.map(Microjoules::as_f64), meter.info().source);
            let line = json!({"time_s": seen.at.0 as f64 / 1e9, "source": source, "watts": watts.map(Microwatts::as_f64), "joules": joules});
            out.object(&line)?;
        } else {
            let total = seen.total.map_or_else(|| "no reading".into(), |t| t.to_string());
            out.line(format_args!("{:>10}  {total:>10}", watts.map(|w| w.to_string()).unwrap_or_default()))?;
        }
        before = seen;
    }
}

/// Reads it for this long as often as the service does, and returns the last reading.
pub(super) fn watch_for(meter: &mut Meter, clock: &Monotonic, time: Duration) -> crate::energy::meter::Reading {
    let end = clock.now() + time;
    loop {
        let left = end - clock.now();
        std::thread::sleep(left.min(SAMPLE));
        let reading = meter.read(clock.now());
        if left <= SAMPLE {
            return reading;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sysfs").join(name)
    }

    fn shown(name: &str, setting: &Setting) -> String {
        page(&survey(setting, &fixture(name), false, Duration::from_millis(30)), setting)
    }

    #[test]
    fn a_jetson_is_told_with_its_parts() {
        let page = shown("jetson-orin-nano", &Setting { scale: 1.1, offset: 0.5, ..Setting::default() });
        let (table, meter) = page.split_once("\n\n").unwrap();
        assert_eq!(
            table.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
            [
                "SENSOR COVERS SHOWS EVERY WATTS IN USE",
                "ina3221:VDD_IN board: supply of the board or its module power 4.92 W yes: sees everything",
                "ina3221:VDD_CPU_GPU_CV rail: one of the rails of the module power 792.3 mW no: part of ina3221:VDD_IN",
                "ina3221:VDD_SOC rail: one of the rails of the module power 1.43 W no: part of ina3221:VDD_IN",
            ]
        );
        assert!(
            meter.starts_with("The meter is ina3221:VDD_IN (board): 5.91 W, with scale 1.1 and offset 0.5 W."),
            "{meter}"
        );
    }

    #[test]
    fn no_sensor_and_wrong_names_are_explained() {
        assert_eq!(
            shown("raspberry-pi-5", &Setting::default()),
            "This device has no energy sensor: energy is estimated."
        );
        let none = Setting { source: "none".into(), ..Setting::default() };
        assert!(shown("rapl-laptop", &none).ends_with("The configuration wants no sensor: energy is estimated."));
        let wrong = Setting { source: "rapl:package-1".into(), ..Setting::default() };
        let page = shown("rapl-laptop", &wrong);
        assert!(page.contains("there is no sensor 'rapl:package-1'"), "{page}");
        let Err(e) = open(wrong, &fixture("rapl-laptop")) else { panic!("opened") };
        assert!(e.message.contains("there is no sensor 'rapl:package-1'"), "{e}");
    }

    #[test]
    fn whom_a_file_lets_in_is_said() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |m| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(m)).unwrap();
        mode(0o400);
        assert!(who_may(file.path()).contains("only (group '"), "{}", who_may(file.path()));
        mode(0o440);
        assert!(who_may(file.path()).contains("member of that group"), "{}", who_may(file.path()));
    }

    #[test]
    fn intervals_are_short() {
        assert_eq!([0.00098, 0.14, 2.04].map(interval), ["1.0 ms", "140 ms", "2.0 s"]);
    }
}
